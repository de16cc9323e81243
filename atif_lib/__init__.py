"""Trainable quantization for spiking neural networks: neurons, networks and training loops.

The executable companion to Castagnetti, Pegatoquet and Miramond, "Trainable quantization for Speedy Spiking Neural
Networks" (2023).
"""

__version__ = "0.1.0"
