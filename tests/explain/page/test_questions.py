"""What a student who knows softmax wants to know, and where on the page it is answered, in both languages.

Each question names a place (a heading of the page, or "picture" above all headings) and the words that answer it there.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from sfumato.explain.page import page
from sfumato.explain.page.words import LANGUAGES, table
from sfumato.theory import loss_floor, optimal_gap

QUESTIONS = {
    "What is the gap at K = 10 and ε = 0.1 in both conventions?": (
        "stop",
        ["log 81 = 4.39445", "log 91 = 4.51086"],
        ["log 81 = 4.39445", "log 91 = 4.51086"],
    ),
    "Why does one-hot never stop?": (
        "never",
        ["No finite logits do that", "some push q − p is always left"],
        ["有限的 logit 做不到", "总会剩下一点"],
    ),
    "What does torch's label_smoothing=0.1 do?": (
        "picture",
        ["torch’s label_smoothing spreads over all", "the label keeps 0.91"],
        ["label_smoothing 属于后一种", "标签类保留 0.91"],
    ),
    "What do class weights do?": (
        "weights",
        ["move the optimum", "d* + log w", "the weight only scales the push", "belong on the rows"],
        ["移动最优点", "d* + log w", "只是放大或缩小推力", "权重应当加在样本上"],
    ),
    "When should one not smooth?": (
        "when",
        ["rank or reject by confidence", "teacher at a raised temperature", "features will be used again"],
        ["按置信度排序或拒识", "当教师，而且蒸馏温度较高", "特征还要用到别处"],
    ),
    "Does smoothing calibrate?": (
        "calibration",
        ["Smoothing does not improve calibration in general"],
        ["平滑并不改善校准"],
    ),
    "What is the gradient?": (
        "gradient",
        ["∂L/∂zi = pi − qi", "what the model says less what the target wants", "the push on each logit is qi − pi"],
        ["∂L/∂zi = pi − qi", "“模型给的”减去“目标要的”", "每个 logit 受到的推力是 qi − pi"],
    ),
    "What do wrong labels do?": (
        "noise",
        ["a smoothed target with ε = ρ over the others"],
        ["正好就是 ε = ρ、分给其余各类的平滑目标"],
    ),
    "Why is a smoothed loss not zero at its best?": (
        "floor",
        ["not 0 at its optimum but the entropy of its target", "With class weights the optimum is p = w·q/S"],
        ["并不是 0，而是目标分布的熵", "有类别权重时，最优点是 p = w·q/S"],
    ),
    "What are η, gradient flow and free logits?": (
        "never",
        ["what descent becomes when the size of its steps goes to 0", "they are trained themselves"],
        ["步长趋于 0 时梯度下降的极限", "被训练的就是 logit 本身"],
    ),
    "What must another framework be told for the same target?": (
        "tell",
        ["εothers = εall · (K − 1)/K", "The table says what to pass", "1/9 = 0.1111 in torch’s words"],
        ["εothers = εall · (K − 1)/K", "各个框架该填的数如下", "在 torch 里要写 1/9 = 0.1111"],
    ),
    "What does a temperature change?": (
        "heat",
        ["It never changes which class is the largest", "T · d*"],
        ["概率最大的类别始终不变", "T · d*"],
    ),
    "What is a nat, and what is the gap?": (
        "words",
        ["1 nat is 1.44 bits", "The label’s logit less the mean of the others"],
        ["1 nat 约合 1.44 比特", "标签类的 logit 减去其余 logit 的平均值"],
    ),
}


@cache
def places():
    """The text of the page by the heading it stands under, without its marks."""
    body = page(10, 0.1).partition("<body>")[2].partition("<script")[0]
    parts = re.split(r'<h2 id="on-(\w+)">', body)
    names = ["picture", *parts[1::2]]
    return {name: re.sub("<.*?>", "", part) for name, part in zip(names, parts[::2], strict=True)}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_stands_in_its_place(question, language):
    place, *answers = QUESTIONS[question]
    found = places()[place]
    assert [words for words in answers[LANGUAGES.index(language)] if words not in found] == []


def test_every_word_of_the_controls_is_explained_in_both_languages():
    for language, words in (("en", ["strength ε", "step size η", "wrong labels ρ", "class weight w", "temperature T"],),
                            ("zh", ["平滑强度 ε", "步长 η", "错标比例 ρ", "类别权重 w", "温度 T"])):  # fmt: skip
        listed = re.findall(r"<dt>(.*?)</dt>", table("text")["words"][language])
        assert set(words) <= set(listed)


def test_the_examples_in_the_words_are_the_theorys():
    at = {eps: round(loss_floor(eps, 10, over="others"), 4) for eps in (0.1, 0.2)}
    gap = optimal_gap(0.2, 10, over="others")
    examples = {
        "noise": [f"{0.2 / 9:.4f}", f"log 36 = {gap:.3f}"],
        "floor": [f"0.60 − {at[0.1]} = {0.6 - at[0.1]:.4f}", f"1.00 − {at[0.2]} = {1 - at[0.2]:.4f}"],
    }
    for place, numbers in examples.items():
        assert [number for number in numbers if places()[place].count(number) != len(LANGUAGES)] == []
