from __future__ import annotations

import math

import numpy as np
import torch

from qlot.model.config import QLOTConfig
from qlot.model.queries import FourierEncoding, IdentityEncoder, TemplateEncoder
from tests.model.small import ONE_LEVEL

CONFIG = QLOTConfig()


def test_the_encoding_as_the_formula_says() -> None:
    """model: [p, sin(omega_l p_d + phi_l)], coordinates outside, frequencies inside, p = (x, -y, -z)."""
    encoding = FourierEncoding(CONFIG).double()
    with torch.no_grad():
        encoding.omega.normal_()
        encoding.phi.normal_()
    points = torch.randn(2, 3, 3, dtype=torch.float64)
    found = encoding(points).detach().numpy()
    omega, phi = encoding.omega.detach().numpy(), encoding.phi.detach().numpy()
    for b, n in np.ndindex(2, 3):
        x, y, z = points[b, n].tolist()
        p = [x, -y, -z]
        wanted = p + [math.sin(omega[d, k] * p[d] + phi[k]) for d in range(3) for k in range(48)]
        np.testing.assert_allclose(found[b, n], wanted, atol=1e-12)


def test_the_first_frequencies() -> None:
    encoding = FourierEncoding(CONFIG)
    omega, phi = encoding.omega.detach().numpy(), encoding.phi.detach().numpy()
    assert omega.shape == (3, 48)
    np.testing.assert_array_equal(omega, np.tile(omega[0], (3, 1)))
    pairs = [math.pi * (1 / 0.03) ** (k / 16) for k in range(16) for _ in range(2)]
    np.testing.assert_allclose(omega[0, :32], pairs, rtol=1e-6)
    np.testing.assert_allclose(phi[:32], [0, math.pi / 2] * 16, rtol=1e-6)
    golden = (math.sqrt(5) - 1) / 2
    spread = [math.modf(i * golden + math.sqrt(2) / 2)[0] for i in range(1, 17)]
    np.testing.assert_allclose(omega[0, 32:], [math.pi * (0.25 + 0.75 * s) for s in spread], rtol=1e-6)
    np.testing.assert_allclose(phi[33::2] - phi[32::2], math.pi / 2, atol=1e-6)
    np.testing.assert_allclose(phi[32::2], [2 * math.pi * (s - 0.5) for s in spread[::2]], atol=1e-6)


def test_shapes_follow_the_configuration() -> None:
    points = torch.randn(2, 5, 3)
    for config in (CONFIG, ONE_LEVEL):
        encoded = FourierEncoding(config)(points)
        assert encoded.shape == (2, 5, 3 + 3 * config.frequencies)
        assert IdentityEncoder(config)(encoded).shape == (2, 5, config.channels)
        wanted = [
            (2, 5, k, config.channels // k, r, r)
            for k, r in zip(config.correlation_heads, config.correlation_kernels, strict=True)
        ]
        assert [t.shape for t in TemplateEncoder(config)(encoded)] == wanted


def test_a_query_does_not_depend_on_its_neighbours() -> None:
    encode = TemplateEncoder(CONFIG)
    encoding = FourierEncoding(CONFIG)(torch.randn(1, 6, 3))
    for together, alone in zip(encode(encoding), encode(encoding[:, 2:3]), strict=True):
        torch.testing.assert_close(together[:, 2:3], alone)
