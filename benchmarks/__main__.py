"""``python -m benchmarks``: everything that RESULTS.md reports."""

from benchmarks.run_all import main

raise SystemExit(main())
