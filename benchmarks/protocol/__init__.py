"""How is measured: constants, the order of settings, statistics. Written rules: `runtime/contract/bench.md`."""
