import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import asdf
import numpy as np
import pytest
from stpipe import Step
from stpipe.entry_points import get_steps as all_steps
from stpipe.exceptions import StpipeExitException
from stpipe.utilities import import_class

from webbalign.core.errors import InputError, OptionError, WebbalignError
from webbalign.pipelines import Coron3Pipeline
from webbalign.steps import KlipStep, ResampleStep, get_steps
from webbalign.steps._errors import for_strun
from webbalign.steps.base import WebbStep

STEPS = [import_class(name) for name, _, _ in get_steps()]


def test_registered_with_stpipe_under_names_of_our_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {info.class_name: info for info in all_steps()}
    for name, alias, is_pipeline in get_steps():
        assert found[name].class_alias == alias
        assert found[name].is_pipeline == is_pipeline
        assert alias.startswith("webbalign_")
        assert import_class(name).class_alias == alias


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_defaults_of_the_specification_are_those_of_the_declaration(step):
    instance = step()
    if step.options_class is not None:
        assert instance.options == step.options_class()


def test_options_are_checked_by_name():
    with pytest.raises(OptionError, match="truncate"):
        _ = KlipStep(truncate=5, err_method="full").options.from_mapping({"truncate": -1})
    with pytest.raises(OptionError, match="mark"):
        _ = Coron3Pipeline(mark=[1.0]).options


def test_none_may_be_written_as_a_word():
    assert ResampleStep(rotation="None").options.rotation is None
    assert ResampleStep(rotation="12.5").options.rotation == 12.5
    assert ResampleStep(weight_type="none").options.weight_type is None


def test_profile_lies_between_default_and_what_the_user_says(tmp_path):
    assert Coron3Pipeline(profile="jwst").align_refs.align_to == "first"
    assert Coron3Pipeline().align_refs.align_to == "each"
    steps = {"align_refs": {"align_to": "mean"}}
    pipeline = Coron3Pipeline.create("x_asn.json", profile="jwst", steps=steps)
    assert pipeline.align_refs.align_to == "mean"
    assert pipeline.align_refs.repair == "box"
    file = tmp_path / "parameters.asdf"
    Coron3Pipeline(steps={"klip": {"err_method": "full"}}).klip.export_config(file)
    assert KlipStep.create("x", profile="jwst", config_file=str(file)).err_method == "full"


def test_parameters_can_be_saved_and_used(tmp_path):
    file = tmp_path / "klip.asdf"
    KlipStep(truncate=7).export_config(file)
    assert KlipStep.create("x", config_file=str(file)).truncate == 7
    assert KlipStep.create("x", config_file=str(file), truncate=9).truncate == 9
    with asdf.open(file) as content:
        assert content["parameters"]["truncate"] == 7


def test_words_about_running_are_no_options(science, stack):
    seen = []

    class Listener:
        def start(self, step, total=None):
            seen.append((step, total))

        def advance(self, n=1):
            seen.append(n)

        def done(self):
            seen.append("done")

    result = KlipStep.call(science, stack, progress=Listener(), truncate=2, configure_log=False)
    assert seen == [("klip", 4), 1, 1, 1, 1, "done"]
    assert np.isfinite(result.data).any()


def test_a_model_given_by_a_user_is_left_alone(science, stack):
    before = science.data.copy()
    KlipStep.call(science, stack, configure_log=False)
    np.testing.assert_array_equal(science.data, before)
    assert science.meta.cal_step.klip is None


def test_numbers_may_be_given_for_options_that_may_be_none_or_are_chosen():
    for rotation in (33, 33.0, "33"):
        step = ResampleStep.create(None, rotation=rotation, pixmap_order=3)
        assert (step.options.rotation, step.options.pixmap_order) == (33.0, 3)
    assert ResampleStep.create(None, rotation=None).options.rotation is None


def test_an_error_is_of_the_users_class_and_ends_strun_by_its_message(tmp_path, capsys):
    """Strun shows the traceback of everything that is not of stpipe's own kind."""
    from stpipe._cli.strun import main as strun

    missing = str(tmp_path / "no_asn.json")
    with pytest.raises(InputError, match="no such file") as told:
        Coron3Pipeline.call(missing, output_dir=str(tmp_path))
    again = pickle.loads(pickle.dumps(told.value))
    assert (type(again), str(again)) == (type(told.value), str(told.value))
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        words = ["webbalign.pipelines.Coron3Pipeline", missing, f"--output_dir={tmp_path}"]
        patch.setattr("sys.argv", ["strun", *words])
        with pytest.raises(SystemExit) as end:
            strun()
    assert end.value.code == 1
    captured = capsys.readouterr()
    line = " ".join(captured.out.split())
    assert re.search(r"no such file - .*no_asn\.json - give an association", line)
    assert "Traceback" not in captured.out + captured.err


def test_each_error_keeps_its_class():
    errors = [
        InputError("a.fits", "empty", "an image"),
        OptionError("option 'x' is 1 - give 2"),
        WebbalignError("no room"),
    ]
    for error in errors:
        told = for_strun(error)
        assert isinstance(told, type(error))
        assert isinstance(told, StpipeExitException)
        assert told.exit_status == 1
        assert str(told) == str(error)
        assert for_strun(told) is told


def test_parameters_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "klip.asdf"
    file.write_text("what was there")

    def fail(self, name, **options):
        name.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Step, "export_config", fail)
    with pytest.raises(OSError, match="klip.asdf"):
        KlipStep().export_config(file)
    assert file.read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["klip.asdf"]


class Mapping(WebbStep):
    """A step that tells what it is given to work with."""

    class_alias = "webbalign_test_mapping"

    def process(self, source):
        runtime = self.runtime
        return list(runtime.map(abs, [-1, -2])), runtime.workers, runtime.shares_memory


@pytest.mark.parametrize("words", [{"executor": "threads", "workers": 2}, {"executor": "given"}])
def test_a_step_that_is_called_alone_has_the_executor_that_was_asked_for(words):
    with ThreadPoolExecutor(2) as pool:
        if words["executor"] == "given":
            words = {"executor": pool}
        assert Mapping.call("x", **words) == ([1, 2], 2, True)
    assert Mapping.call("x", executor="serial") == ([1, 2], 1, True)
    assert Mapping.call("x") == ([1, 2], None, True)


def test_memory_is_written_as_people_do():
    assert KlipStep.create("x", memory="2GB").runtime.memory == 2_000_000_000
    with pytest.raises(OptionError, match="option 'memory' is 'much'"):
        KlipStep.create("x", memory="much")
