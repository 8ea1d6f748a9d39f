"""Makes the small vocabulary, in the file format of CLIP's.

The ids follow CLIP's order: 256 bytes, the same 256 as ends of words, the merges by
rank, and last `<|startoftext|>` and `<|endoftext|>`. Every byte has a token, so any
text can be encoded; the words of the captions are one token each.
"""

import json
from collections import Counter

import regex
from transformers import CLIPTokenizer

from .networks import CONTEXT_LENGTH
from .pictures import caption, fresh_source, random_subject

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
CAPTIONS = 20000
PADDING = {"tokenizer": END, "tokenizer_2": "!"}
"""The published model pads the two encoders' inputs differently, and so does this one."""

WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")


def byte_alphabet():
    """The printable character that stands for each byte, in the order of CLIP's ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(hidden))]


def caption_words():
    """How often each word occurs in a fixed sample of captions."""
    source = fresh_source(7)
    counts = Counter()
    for _ in range(CAPTIONS):
        counts.update(WORD.findall(caption(random_subject(source), source).lower()))
    return counts


def learn_merges(counts):
    """Merges the most frequent pair, again and again, until every word is one symbol."""
    words = {word: [*word[:-1], word[-1] + WORD_END] for word in counts}
    merges = []
    while True:
        pairs = Counter()
        for word, symbols in words.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for symbols in words.values():
            merge_in_place(symbols, best)


def merge_in_place(symbols, pair):
    index = 0
    while index + 1 < len(symbols):
        if (symbols[index], symbols[index + 1]) == pair:
            symbols[index:index + 2] = ["".join(pair)]
        index += 1


def write_both(folder):
    alphabet = byte_alphabet()
    merges = learn_merges(caption_words())
    tokens = alphabet + [character + WORD_END for character in alphabet] + ["".join(pair) for pair in merges]
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    for name, padding in PADDING.items():
        write(folder / name, vocabulary, merges, padding)


def write(folder, vocabulary, merges, padding):
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": padding}
    settings = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "model_max_length": CONTEXT_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
        **special,
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")


def load_both(folder):
    return tuple(CLIPTokenizer.from_pretrained(folder / name) for name in PADDING)
