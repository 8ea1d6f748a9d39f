"""Starts the video autoencoder from the picture model's: the same latent space, wider layers.

Every channel of the source gets one or more copies. What reads them takes the mean of the
copies, so that a network of plain convolutions would stay the same function. The groups of
the normalisation are smaller than the source's, so it is only nearly the same here; a
short training mends that.
"""

import torch

SYMMETRY_NOISE = 0.02
"""Share of a weight's deviation that is added, so that copies can grow apart."""


def spread(old, new):
    """Which source channel each new channel copies: in order, so that neighbours stay neighbours."""
    return torch.arange(new) * old // new


def widened(value, shape, generator):
    """A vector or a convolution or linear weight of the source, in the new shape."""
    rows = spread(value.shape[0], shape[0])
    result = value[rows]
    if value.dim() > 1:
        columns = spread(value.shape[1], shape[1])
        copies = torch.bincount(columns, minlength=value.shape[1])[columns].to(value.dtype)
        result = result[:, columns] / copies.view(1, -1, *[1] * (value.dim() - 2))
        result = result + SYMMETRY_NOISE * result.std() * torch.randn(result.shape, generator=generator)
    return result


def source_name(name):
    """The picture autoencoder's name for a parameter of the video autoencoder; temporal ones have none."""
    return name.replace(".spatial_res_block", "")


@torch.no_grad()
def widen(source, target, seed=0):
    """Fills `target` from `source`. Temporal blocks begin as nothing: their last convolution is zero."""
    generator = torch.Generator().manual_seed(seed)
    known = source.state_dict()
    for name, parameter in target.named_parameters():
        value = known.get(source_name(name))
        if value is not None:
            parameter.copy_(widened(value, parameter.shape, generator))
        elif "temporal_res_block.conv2" in name:
            parameter.zero_()
    weight, bias = known["post_quant_conv.weight"][:, :, 0, 0], known["post_quant_conv.bias"]
    first = known["decoder.conv_in.weight"]
    rows = spread(first.shape[0], target.decoder.conv_in.weight.shape[0])
    target.decoder.conv_in.weight.copy_(torch.einsum("omhw,mi->oihw", first, weight)[rows])
    target.decoder.conv_in.bias.copy_((known["decoder.conv_in.bias"] + first.sum((2, 3)) @ bias)[rows])
    last = target.decoder.time_conv_out
    last.weight.zero_()
    last.weight[:, :, 1, 0, 0] = torch.eye(last.weight.shape[0])
    last.bias.zero_()
