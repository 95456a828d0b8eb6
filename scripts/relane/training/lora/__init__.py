"""Training a LoRA for FLUX Fill on a captioned dataset: adapter, cached encodings, flow matching, checkpoints."""
