"""Where clips come from: one file per kind of material, all of them `qlot.training.data.clip.Source`."""
