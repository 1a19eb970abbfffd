"""`corral evaluate`: the loss of quantized files, measured, drawn and reported."""
