"""The last layer of a vision Transformer, computed for the class token alone.

A tower that is read at its class token needs nothing else of its last layer: one query instead of
all, and one row through the feed-forward block. The result is the same; of ViT-B/32's twelve
layers it saves about 0.8 of one. Not for towers whose patches or inner layers are kept.
"""

from typing import Any

from mmcli.engine.torch_stack import load_torch

torch = load_torch()


class ClassTokenLayer(torch.nn.Module):
    """Wraps a CLIP encoder layer: `(batch, tokens, dim)` in, `(batch, 1, dim)` out."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        """The class token's new state; a vision tower has no attention mask."""
        layer, attention = self.layer, self.layer.self_attn
        normed = layer.layer_norm1(hidden_states)

        def heads(states: Any) -> Any:
            return states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

        attended = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.q_proj(normed[:, :1])),
            heads(attention.k_proj(normed)),
            heads(attention.v_proj(normed)),
            scale=attention.scale,
        )
        states = hidden_states[:, :1] + attention.out_proj(attended.transpose(1, 2).flatten(2))
        return states + layer.mlp(layer.layer_norm2(states))
