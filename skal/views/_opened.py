"""Attention and recurrent layers computed in the open: dropout inside them is a layer one can see.

torch runs both in one piece, on fast paths of their own that forward-mode differentiation does not
know, and their dropout is no layer that a hook could be put on.
"""

import math

import torch
from torch import _VF, nn
from torch.nn.utils.rnn import PackedSequence


def opened(module):
    """Let the attention and recurrent layers of a module compute in the open; changed in place.

    Parameters
    ----------
    module : torch.nn.Module
        A copy of one's own. Names and values of its parameters stay, and so do its outputs, but for
        rounding.

    Returns
    -------
    module : torch.nn.Module
        The same.
    """
    for part in list(module.modules()):
        if type(part) is nn.MultiheadAttention:
            part.__class__ = _OpenAttention
            part.attention_dropout = nn.Dropout(part.dropout).train(part.training)
        elif isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0  # which keeps it from its fast path
        elif isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False
        elif type(part) in _RECURRENT and part.dropout and part.num_layers > 1:
            part.__class__ = _RECURRENT[type(part)]
            part.layer_dropout = nn.Dropout(part.dropout).train(part.training)
    return module


class _OpenAttention(nn.MultiheadAttention):
    """Attention step by step, with a layer for the dropout of its weights."""

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        """As in torch."""
        batched = query.dim() == 3
        q, k, v = (self._batch_first(part, batched) for part in (query, key, value))
        q, k, v = self._projected(q, k, v)
        if self.bias_k is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), -1, -1)], 1)
        if self.add_zero_attn:
            k, v = (
                torch.cat([part, part.new_zeros(len(part), 1, part.shape[2])], 1) for part in (k, v)
            )
        q, k, v = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        scores = (q / math.sqrt(q.shape[3])) @ k.transpose(2, 3)
        if attn_mask is not None:
            mask = _additive(attn_mask, scores)
            mask = mask.unflatten(0, (len(q), -1)) if mask.dim() == 3 else mask
            scores = scores + _widened(mask, scores)
        if key_padding_mask is not None:
            mask = key_padding_mask if batched else key_padding_mask[None]
            scores = scores + _widened(_additive(mask, scores)[:, None, None, :], scores)
        weights = self.attention_dropout(torch.softmax(scores, 3))
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        # Not by the layer itself, which torch does not call either: it is no head of the net.
        out = nn.functional.linear(mixed, self.out_proj.weight, self.out_proj.bias)
        out = out[0] if not batched else out if self.batch_first else out.transpose(0, 1)
        if not need_weights:
            return out, None
        weights = weights.mean(1) if average_attn_weights else weights
        return out, weights if batched else weights[0]

    def _batch_first(self, part, batched):
        if not batched:
            return part[None]
        return part if self.batch_first else part.transpose(0, 1)

    def _projected(self, q, k, v):
        if self._qkv_same_embed_dim:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return map(nn.functional.linear, (q, k, v), weights, biases)


def _additive(mask, scores):
    """A mask as what is added to scores: minus infinity where it is True."""
    if mask.dtype != torch.bool:
        return mask.to(scores.dtype)
    return scores.new_zeros(mask.shape).masked_fill(mask, -math.inf)


def _widened(mask, scores):
    """Let the keys that attention adds itself be seen."""
    return nn.functional.pad(mask, (0, scores.shape[3] - mask.shape[-1]))


class _OpenRecurrent:
    """Recurrent layers one after another, with a layer for the dropout between them."""

    def forward(self, input, hx=None):
        """As in torch."""
        if isinstance(input, PackedSequence):
            return super().forward(input, hx)  # the dropout layer does not run, which is noticed
        batched = input.dim() == 3
        x = input[None] if not batched else input if self.batch_first else input.transpose(0, 1)
        starts = self._starts(x, hx, batched)
        n_directions, ends = 1 + self.bidirectional, []
        for layer in range(self.num_layers):
            x = self.layer_dropout(x) if layer else x
            own = slice(layer * n_directions, (layer + 1) * n_directions)
            weights = [getattr(self, name) for names in self._all_weights[own] for name in names]
            start = tuple(state[own].contiguous() for state in starts)
            start = start if self.mode == "LSTM" else start[0]
            function = getattr(_VF, self.mode.lower())
            x, *end = function(
                x, start, weights, self.bias, 1, 0.0, False, self.bidirectional, True
            )
            ends.append(end)
        ends = tuple(torch.cat(states) for states in zip(*ends, strict=True))
        if not batched:
            x, ends = x[0], tuple(state[:, 0] for state in ends)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        return x, ends if self.mode == "LSTM" else ends[0]

    def _starts(self, x, hx, batched):
        """Initial states (n_layers * n_directions, n, width), one or two of them."""
        if hx is not None:
            states = hx if self.mode == "LSTM" else (hx,)
            return states if batched else tuple(state[:, None] for state in states)
        n_layers = self.num_layers * (1 + self.bidirectional)
        widths = [getattr(self, "proj_size", 0) or self.hidden_size]
        if self.mode == "LSTM":
            widths.append(self.hidden_size)
        return tuple(x.new_zeros(n_layers, len(x), width) for width in widths)


class _OpenLSTM(_OpenRecurrent, nn.LSTM):
    pass


class _OpenGRU(_OpenRecurrent, nn.GRU):
    pass


class _OpenRNN(_OpenRecurrent, nn.RNN):
    pass


_RECURRENT = {nn.LSTM: _OpenLSTM, nn.GRU: _OpenGRU, nn.RNN: _OpenRNN}
