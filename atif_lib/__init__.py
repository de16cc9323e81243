"""Trainable quantization for spiking neural networks: the executable companion to a paper, equation by equation.

===  ======================================  =================================================
Eq.  What it says                            Where it is
===  ======================================  =================================================
1    a layer: weights, bias, activation      atif_lib.networks.Layers
2    current into the membrane               atif_lib.neurons.SoftResetNode.integrate_and_fire
3    current from the spikes before          atif_lib.networks.Synapses
4    a spike at the threshold                atif_lib.neurons.SoftResetNode.integrate_and_fire
5    soft reset                              atif_lib.neurons.SoftResetNode.integrate_and_fire
6    firing rate, scaled to an estimate      atif_lib.neurons.SoftResetNode.decode
7    spike count for a constant current      atif_lib.quantization.staircase
8    SQNR                                    atif_lib.quantization.sqnr_db
9    gradient of the threshold               atif_lib.neurons.ATIFu
10   surrogate: a sigmoid's derivative       atif_lib.neurons.IF
11   argument of the step, by the threshold  atif_lib.experiments.one_neuron.Eq11
12   Eqs 9 to 11 together, by hand           atif_lib.neurons.fused.fire
13   loss of one neuron                      atif_lib.neurons.fitting.fit_neuron
14   one spike: its threshold                atif_lib.quantization.thresholds_from_steps
15   four spikes: the first threshold        atif_lib.quantization.thresholds_from_steps
16   two spikes: when they come              atif_lib.quantization.thresholds_from_steps
17   two spikes: the threshold               atif_lib.quantization.thresholds_from_steps
18   three spikes: when they come            atif_lib.quantization.thresholds_from_steps
19   three spikes: the printed threshold     atif_lib.quantization.thresholds_from_steps
20   sparsity                                atif_lib.training.evaluation.evaluate
===  ======================================  =================================================

The paper is Castagnetti, Pegatoquet and Miramond, "Trainable quantization for Speedy Spiking Neural Networks" (2023).
Its rooms are ``quantization``, ``data`` and ``results``, which know of no other, then ``neurons``, ``networks``,
``training`` and ``experiments``, each of which imports those before it only. Beside them are the command line, ``cli``,
and what all share: ``checks``, ``paths`` and ``console``.
"""

__version__ = "0.1.0"
