"""Networks as linen modules; no losses, no optimizers."""
