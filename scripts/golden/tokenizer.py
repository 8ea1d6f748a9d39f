"""A byte-level BPE vocabulary in CLIP's file format, and what transformers' CLIPTokenizer makes of hostile text."""

import json
from collections import Counter
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import CLIPTokenizer

from corpus import QUESTIONS, TRAINING
from fixture import write_json

START, END = "<|startoftext|>", "<|endoftext|>"
PAD_WITH_END, PAD_WITH_MARK = "tokenizer", "tokenizer_2"
MAX_LENGTH = 77
MERGES = 900
SUFFIX = "</w>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order: `!` has id 0, as the padding of SDXL's tokenizer_2 expects."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = len([byte for byte in range(256) if byte not in printable])
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(moved)]


def training_words() -> Counter[tuple[str, ...]]:
    """Words of the corpus as symbols, cut by CLIP's own normaliser and pattern, with how often each occurs."""
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words = Counter()
    for line in TRAINING.strip().splitlines():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line)):
            words[(*word[:-1], word[-1] + SUFFIX)] += 1
    return words


def joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """`word` with every occurrence of `pair`, from the left, made one symbol."""
    out, index = [], 0
    while index < len(word):
        step = 2 if word[index : index + 2] == pair else 1
        out.append("".join(word[index : index + step]))
        index += step
    return tuple(out)


def trained_merges() -> list[tuple[str, str]]:
    """Plain BPE training. The `tokenizers` trainer breaks ties by hash order, so that its merges differ from run to run."""
    words, merges = training_words(), []
    while len(merges) < MERGES:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({joined(word, best): count for word, count in words.items()})
    return merges


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's id order: bytes, bytes that end a word, merges by rank, the two specials."""
    alphabet = byte_alphabet()
    tokens = alphabet + [symbol + SUFFIX for symbol in alphabet] + ["".join(pair) for pair in merges] + [START, END]
    if len(set(tokens)) != len(tokens):
        raise ValueError("two merges make the same token")
    return {token: index for index, token in enumerate(tokens)}


def tokenizer_config(pad: str, vocab: dict[str, int]) -> dict:
    """As published beside SDXL's vocabularies. With `!` as padding it is an added token, cut out of prompts too."""

    def added(content: str, normalized: bool, special: bool) -> dict:
        return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False,
                "single_word": False, "special": special}

    decoder = {str(vocab["!"]): added("!", False, True)} if pad == "!" else {}
    decoder[str(vocab[START])] = added(START, True, False)
    decoder[str(vocab[END])] = added(END, False, False)
    return {
        "add_prefix_space": False, "added_tokens_decoder": decoder, "additional_special_tokens": [],
        "bos_token": START, "clean_up_tokenization_spaces": True, "do_lower_case": True, "eos_token": END,
        "errors": "replace", "model_max_length": MAX_LENGTH, "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer", "unk_token": END,
    }


def write_published(directory: Path, pad: str, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """One tokenizer folder of a published checkpoint."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(directory / "tokenizer_config.json", tokenizer_config(pad, vocab))
    specials = {"bos_token": START, "eos_token": END, "pad_token": pad, "unk_token": END}
    write_json(directory / "special_tokens_map.json", specials)


def load(root: Path, folder: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(root / "tokenizers" / folder)


def padded_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """As diffusers asks for a prompt's ids."""
    encoded = tokenizer(text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    return list(encoded.input_ids)


def stored_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Ids without padding, after a check that padding does nothing but fill up."""
    ids = list(tokenizer(text, max_length=tokenizer.model_max_length, truncation=True).input_ids)
    padding = [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))
    if padded_ids(tokenizer, text) != ids + padding:
        raise ValueError(f"padding changed the ids of {text!r}")
    return ids


def generate(root: Path) -> None:
    merges = trained_merges()
    vocab = vocabulary(merges)
    write_published(root / "tokenizers" / PAD_WITH_END, END, vocab, merges)
    write_published(root / "tokenizers" / PAD_WITH_MARK, "!", vocab, merges)
    first, second = load(root, PAD_WITH_END), load(root, PAD_WITH_MARK)
    first.backend_tokenizer.save(str(root / "tokenizers" / "tokenizer.json"), pretty=False)
    write_json(root / "tokenizers" / "cases.json", {
        "start": vocab[START], "end": vocab[END], "mark": vocab["!"], "max_length": MAX_LENGTH,
        "padding": "ids are truncated and not padded: tokenizer pads with `end`, tokenizer_2 with `mark`",
        "cases": [
            {"text": text, "tokenizer": stored_ids(first, text), "tokenizer_2": stored_ids(second, text)}
            for text in QUESTIONS
        ],
    })
