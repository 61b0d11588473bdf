"""From a checkpoint to a bundle that every runtime executes alike."""
