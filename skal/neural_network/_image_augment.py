"""Random distortions of images, batch by batch on tensors."""

from numbers import Integral, Real

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional

from skal.neural_network._image_operations import OPERATIONS
from skal.utils._compat import Interval, _fit_context


class ImageAugment(BaseEstimator):
    """Strong augmentation of images: four random operations of fourteen, then a hole.

    Every call draws afresh for every image: perhaps a flip and a shifted crop, then `n_operations`
    operations with replacement, each with a magnitude of its own, then a square hole (Cutout).

    Parameters
    ----------
    n_operations : int, default=4
        How many operations are applied one after the other.

    operations : tuple of str or None, default=None
        The operations to draw from. None is all of them: "identity", "auto_contrast", "equalize",
        "rotate" (up to 30 degrees), "solarize", "posterize" (4 to 7 bits), "color", "contrast",
        "brightness", "sharpness" (each a blend that keeps 5 to 95 % of the image), "shear_x",
        "shear_y" (up to 0.1), "translate_x", "translate_y" (up to a tenth of the image).

    cutout : float, default=0.5
        Longest side of the hole as a share of the shorter side of the image. The length is uniform
        on 1, 2, ... pixels up to there, rounded down to an even number; its centre is any pixel,
        and what lies outside is cut off. 0 makes no hole.

    flip : bool, default=False
        Whether to mirror images left to right, half of them. Not for digits or letters.

    crop_padding : int, default=0
        Images are shifted by up to this many pixels each way, as by a random crop of the padded
        image. 0 leaves them in place.

    image_shape : tuple of int or None, default=None
        Channels, height and width of images that come as flat rows; two numbers are height and
        width. None is for rows of shape (channels, height, width) or (height, width).

    value_range : tuple of float or None, default=None
        The values of black and white. None takes the smallest and largest value of each channel in
        `fit`.

    Attributes
    ----------
    low_ : tensor of shape (1, channels, 1, 1), dtype float32
        The value of black.

    high_ : tensor of shape (1, channels, 1, 1), dtype float32
        The value of white.

    mean_ : tensor of shape (1, channels, 1, 1), dtype float32
        The mean colour, which fills holes.

    See Also
    --------
    TabularAugment : The same for tables.
    PseudoLabelFineTuner : Trains on augmented rows.

    Notes
    -----
    Images should reach the net on one scale per channel (divided by 255, or standardised by
    channel), not standardised pixel by pixel: black must be one value.

    Geometric operations take the nearest pixel, turn and shear about the centre and fill with
    black. Equalising, solarising and posterising think in 256 levels, the others are continuous.

    The operations are written for batches of tensors rather than taken from torchvision, which
    works on one image at a time with one magnitude: this way they run where the net is, with
    random numbers that the seed of the fine-tuning governs, and without another dependency.

    References
    ----------
    E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le. RandAugment: Practical automated data augmentation
    with a reduced search space. CVPR Workshops, 2020. arXiv:1909.13719.

    T. DeVries and G. W. Taylor. Improved regularization of convolutional neural networks with
    Cutout. 2017. arXiv:1708.04552.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import torch
    >>> from skal.neural_network import ImageAugment
    >>> X = torch.as_tensor(load_digits().data[:10], dtype=torch.float32)
    >>> augment = ImageAugment(image_shape=(8, 8)).fit(X)
    >>> _ = torch.manual_seed(0)
    >>> X_new = augment.augment(X)
    >>> X_new.shape, bool(X_new.min() >= 0), bool(X_new.max() <= 16)
    (torch.Size([10, 64]), True, True)
    """

    _parameter_constraints: dict = {
        "n_operations": [Interval(Integral, 0, None, closed="left")],
        "operations": [tuple, list, None],
        "cutout": [Interval(Real, 0, 1, closed="both")],
        "flip": ["boolean"],
        "crop_padding": [Interval(Integral, 0, None, closed="left")],
        "image_shape": [tuple, list, None],
        "value_range": [tuple, list, None],
    }

    def __init__(
        self,
        n_operations=4,
        *,
        operations=None,
        cutout=0.5,
        flip=False,
        crop_padding=0,
        image_shape=None,
        value_range=None,
    ):
        self.n_operations = n_operations
        self.operations = operations
        self.cutout = cutout
        self.flip = flip
        self.crop_padding = crop_padding
        self.image_shape = image_shape
        self.value_range = value_range

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn what black, white and the mean colour are.

        Parameters
        ----------
        X : array, tensor or sparse matrix of shape (n_samples, ...)
            All images there are, labelled or not.

        y : None
            Ignored.

        Returns
        -------
        self : ImageAugment
            The fitted augmentation.
        """
        self._names = self._checked_operations()
        shape = self._checked_shape(tuple(X.shape[1:]))
        low, high, mean = _per_pixel(X)
        low, high = low.reshape(shape).amin((1, 2)), high.reshape(shape).amax((1, 2))
        if self.value_range is not None:
            if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
                raise ValueError(
                    "'value_range' of ImageAugment must be two numbers, black < white. "
                    f"Got {self.value_range!r} instead."
                )
            low, high = (torch.full_like(low, float(value)) for value in self.value_range)
        self.shape_ = shape
        self.low_, self.high_, self.mean_ = (
            values.float().reshape(1, -1, 1, 1)
            for values in (low, high, mean.reshape(shape).mean((1, 2)))
        )
        return self

    def augment(self, X, generator=None):
        """Distort images at random.

        Parameters
        ----------
        X : tensor of shape (n, ...)
            Images, of the shape seen in `fit`. Left as they are.

        generator : torch.Generator or None, default=None
            Source of the random numbers, on the device of `X`. None is torch's own.

        Returns
        -------
        X_new : tensor of shape (n, ...)
            The distorted images, of the dtype and on the device of `X`.
        """
        check_is_fitted(self)
        low, high, mean = (part.to(X) for part in (self.low_, self.high_, self.mean_))
        span = torch.where(high > low, high - low, torch.ones_like(low))
        draw = {"device": X.device, "generator": generator}
        images = ((X.reshape(-1, *self.shape_) - low) / span).clamp(0, 1)
        if self.flip:
            mirrored = torch.rand((len(images), 1, 1, 1), **draw) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        if self.crop_padding:
            images = _shifted(images, self.crop_padding, draw)
        for _ in range(self.n_operations):
            images = self._one_operation(images, draw)
        images = low + span * images
        if self.cutout:
            images = torch.where(self._hole(images, draw), mean, images)
        return images.reshape(X.shape)

    def _one_operation(self, images, draw):
        """Apply an operation of its own, of its own magnitude, to each image."""
        chosen = torch.randint(len(self._names), (len(images),), **draw)
        position = torch.rand(len(images), **draw).to(images)
        changed = images.clone()
        for number, name in enumerate(self._names):
            rows = (chosen == number).nonzero().ravel()
            if len(rows):
                operation, lowest, highest = OPERATIONS[name]
                magnitude = lowest + (highest - lowest) * position[rows]
                changed[rows] = operation(images[rows], magnitude).clamp(0, 1)
        return changed

    def _hole(self, images, draw):
        """Mark a square of each image: bool (n, 1, height, width)."""
        n, _, height, width = images.shape
        longest = max(1, int(self.cutout * min(height, width)))
        half = (torch.randint(1, longest + 1, (n, 1), **draw) // 2).reshape(n, 1, 1)
        inside = []
        for size in (height, width):
            center = torch.randint(size, (n, 1), **draw)
            pixels = torch.arange(size, device=images.device) - center
            inside.append((pixels[:, None, :] >= -half) & (pixels[:, None, :] < half))
        return inside[0][:, :, :, None] & inside[1][:, :, None, :]

    def _checked_operations(self):
        names = list(OPERATIONS) if self.operations is None else list(self.operations)
        unknown = [name for name in names if name not in OPERATIONS]
        if unknown or not names:
            raise ValueError(
                f"'operations' of ImageAugment must be names among {list(OPERATIONS)}. "
                f"Got {self.operations!r} instead."
            )
        return names

    def _checked_shape(self, row):
        """Return (channels, height, width)."""
        shape = row if self.image_shape is None else tuple(self.image_shape)
        if len(shape) not in (2, 3) or np.prod(shape) != np.prod(row):
            raise ValueError(
                f"ImageAugment needs images of shape (channels, height, width) or (height, width); "
                f"rows have shape {row} and 'image_shape' is {self.image_shape!r}. Pass the shape "
                "of the images as image_shape."
            )
        return shape if len(shape) == 3 else (1, *shape)


def _per_pixel(X):
    """Smallest, largest and mean value of each pixel, float64 tensors (n_pixels,)."""
    if isinstance(X, torch.Tensor):
        X = X.cpu().numpy()
    if sparse.issparse(X):
        lowest, highest = (part.toarray().ravel() for part in (X.min(axis=0), X.max(axis=0)))
        mean = np.asarray(X.mean(axis=0)).ravel()
    else:
        X = np.asarray(X).reshape(len(X), -1)
        lowest, highest, mean = X.min(axis=0), X.max(axis=0), X.mean(axis=0, dtype=np.float64)
    return tuple(torch.as_tensor(values.astype(np.float64)) for values in (lowest, highest, mean))


def _shifted(images, padding, draw):
    """Move each image by up to `padding` pixels each way, filling with black."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, n, 1), **draw)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    which = torch.arange(n, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
