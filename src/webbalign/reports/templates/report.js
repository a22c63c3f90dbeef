"use strict";
// Views of one field: one of them, all in turn, or the first and the last beside a movable edge.
for (const figure of document.querySelectorAll(".comparison")) {
  const images = [...figure.querySelectorAll(".stack img")];
  const buttons = [...figure.querySelectorAll("button.view")];
  const blink = figure.querySelector("button.blink");
  const slider = figure.querySelector(".slider");
  const last = images.length - 1;
  let timer = null;
  let shown = 0;

  const show = (index) => {
    shown = index;
    images.forEach((image, i) => {
      image.style.visibility = i === index ? "visible" : "hidden";
      image.style.clipPath = "none";
      image.setAttribute("aria-hidden", String(i !== index));
    });
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  };
  const rest = () => {
    clearInterval(timer);
    timer = null;
    blink.setAttribute("aria-pressed", "false");
  };

  buttons.forEach((button, i) => button.addEventListener("click", () => { rest(); show(i); }));
  blink.addEventListener("click", () => {
    if (timer !== null) { rest(); return; }
    blink.setAttribute("aria-pressed", "true");
    timer = setInterval(() => show(shown === 0 ? last : 0), 700);
  });
  slider.addEventListener("input", () => {
    rest();
    show(0);
    images[last].style.visibility = "visible";
    images[last].setAttribute("aria-hidden", "false");
    images[last].style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
  });
  figure.classList.add("live");
  show(last);
}
