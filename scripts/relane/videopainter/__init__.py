"""VideoPainter (video inpainting on CogVideoX) on stock diffusers: the original's network, bit for bit, for any length.

- `networks`: the branch, the transformer that takes its samples, and their attention;
- `options`: every choice of a run with its reason, and the original's choices as `Options.exact()`;
- `windows`: which frames each window paints and how windows are joined, as pure functions;
- `pipeline`: the loop that encodes, denoises, decodes and joins window by window;
- `loading`: released checkpoints by their own names; `text`: prompt embeddings, computed once a prompt.
"""
