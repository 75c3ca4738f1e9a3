"""The commands `kubemtu lab` and `kubemtu demo`, which `kubemtu.cli` imports when they are called."""
