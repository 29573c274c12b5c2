"""From a trained run to exported files, each of them run and compared with the network."""
