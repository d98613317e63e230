"""Noise: what a device's calibration says, and what it makes of Paulis."""

from __future__ import annotations

from .device import DeviceNoise, GateNoise, QubitNoise

__all__ = ["DeviceNoise", "GateNoise", "QubitNoise"]
