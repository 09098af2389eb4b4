/* SPDX-License-Identifier: Apache-2.0
 *
 * models/gosling/gosling_embed.S - the model's files as read-only data. */
    .section .rodata
    .balign 64
    .globl gosling_weights_begin, gosling_weights_end
gosling_weights_begin:
    .incbin "gosling.safetensors"
gosling_weights_end:
    .balign 64
    .globl gosling_vocabulary_begin, gosling_vocabulary_end
gosling_vocabulary_begin:
    .incbin "gosling_vocab.txt"
gosling_vocabulary_end:
    .section .note.GNU-stack, "", @progbits
