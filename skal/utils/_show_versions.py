"""What a bug report needs to know."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "skal",
    "scikit-learn",
    "skorch",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "polars",
    "joblib",
    "matplotlib",
)


def show_versions():
    """Print the versions of Python, of skal and of what it stands on, and the devices of torch.

    Examples
    --------
    >>> import skal
    >>> skal.show_versions()  # doctest: +ELLIPSIS
    python: ...
    """
    import torch

    print(f"python: {platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        try:
            print(f"{package}: {version(package)}")
        except PackageNotFoundError:
            print(f"{package}: not installed")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"CUDA devices: {', '.join(devices) or 'none'}")
