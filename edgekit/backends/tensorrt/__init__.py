"""TensorRT: the engine for NVIDIA Jetson, and TensorRT-RTX for GeForce and RTX cards.

rules        what TensorRT asks of a model with Q/DQ, checked before it sees the model
adapter      its Python API, and what differs between versions
build        a model becomes an engine, in a process of its own
layers       what the engine computes in which precision
cache        the scales as a calibration cache, for the DLA under TensorRT 10
fingerprint  what an engine was built for, and what is here
runner       an engine runs on a GPU
backend      all of it behind the interface that every engine has
"""

from edgekit.backends.tensorrt.backend import TensorRtBackend

__all__ = ["TensorRtBackend"]
