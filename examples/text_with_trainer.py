"""Does smoothing help a text classifier that Hugging Face's Trainer trains?

A sentence comes from the documentation of one of five modules of scikit-learn, and
a small BERT, made here and not downloaded, tells which module it is. `compute_loss`
gives Trainer the smoothed loss. Evaluation stays hard, so `eval_loss` is a log loss
for both models. `SaveScores` writes each model's scores, and `sf.judge` compares
them.

It needs transformers, accelerate and scikit-learn. With your own texts, put a
pretrained model and its tokenizer in place of `new_model` and `tokens`.
"""

import inspect
import re
from zlib import crc32

import torch
from sklearn import cluster, ensemble, linear_model, metrics, preprocessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

import sfumato as sf
from sfumato.adapters.hf import SaveScores, compute_loss

MODULES = (cluster, ensemble, linear_model, metrics, preprocessing)
WORDS, LENGTH = 4096, 24


def sentences(module):
    texts = (inspect.getdoc(getattr(module, name)) for name in module.__all__)
    found = re.split(r"(?<=[.:])\s+", " ".join(filter(None, texts)))
    long = [each for each in found if len(re.findall(r"[a-z]{3,}", each)) >= 6]
    return sorted({" ".join(each.split()) for each in long})[:500]


def tokens(sentence):
    words = re.findall(r"\w+", sentence.lower())[:LENGTH]
    ids = [1 + crc32(word.encode()) % (WORDS - 1) for word in words]
    return ids + [0] * (LENGTH - len(ids))


def new_model():
    set_seed(0)  # both models start from the same weights
    small = {
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    return BertForSequenceClassification(
        BertConfig(vocab_size=WORDS, num_labels=len(MODULES), **small)
    )


rows = [
    {
        "input_ids": (ids := torch.tensor(tokens(sentence))),
        "attention_mask": (ids > 0).long(),
        "labels": label,
    }
    for label, module in enumerate(MODULES)
    for sentence in sentences(module)
]
random = torch.Generator().manual_seed(0)
order = torch.randperm(len(rows), generator=random).tolist()
train, validation, test = (
    [rows[at] for at in order[first:last]]
    for first, last in ((1000, None), (0, 400), (400, 1000))
)
print("hard log loss of the test sentences")
for arm, strength in (("one-hot", 0.0), ("smoothed", 0.1)):
    args = TrainingArguments(
        "trainer",
        num_train_epochs=5,
        learning_rate=1e-3,
        per_device_train_batch_size=32,
        use_cpu=True,
        per_device_eval_batch_size=200,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        new_model(),
        args,
        train_dataset=train,
        eval_dataset=test,
        compute_loss_func=compute_loss(label_smoothing=strength),
        callbacks=[SaveScores("scores", arm=arm, test=test, validation=validation)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    print(f"  {arm}: {trainer.evaluate()['eval_loss']:.2f}")

print(sf.judge("scores", paired=True))
