"""The neurons: soft reset (Eqs 2-5) with a fixed, a learned (Eqs 9-12) or a time-varying threshold (Eqs 14-19)."""

from atif_lib.neurons.atif import IF, ATIFnu, ATIFu, SafeATIFnu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.neurons.soft_reset import SoftResetNode

__all__ = ["IF", "ATIFnu", "ATIFu", "QuantizedReLU", "SafeATIFnu", "SoftResetNode"]
