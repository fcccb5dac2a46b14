"""Distillation: edits trained on the answers of a teacher."""
