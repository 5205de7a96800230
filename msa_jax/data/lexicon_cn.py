"""Graded Chinese phrases for twins of Chinese data sets; written for this project."""

import numpy as np

SUBJECTS = ("这个故事", "他的表演", "这件事情", "今天的安排", "她的态度", "这个地方")
OPENERS = ("", "", "我觉得", "说实话", "其实")
JOINTS = ("，而且", "，所以", "，你看")
# what is said of a subject, from -1 (very negative) to 1
PHRASES = {
    -1.0: ("太糟糕了", "让人绝望", "真可怕"),
    -0.6: ("很无聊", "令人失望", "很讨厌"),
    -0.2: ("不太好", "有点慢", "不够清楚"),
    0.0: ("很普通", "和以前一样", "就是这样"),
    0.2: ("还可以", "还不错", "挺安静"),
    0.6: ("很好", "很有趣", "让人高兴"),
    1.0: ("太棒了", "非常精彩", "让人感动"),
}


def compose(rng: np.random.Generator, wanted: float, characters: int) -> str:
    """Compose a sentence whose phrases are graded around `wanted`, in [-1, 1].

    Clauses are added while it is shorter than `characters`; then it is cut to that.
    """
    grades = np.array(list(PHRASES))
    sentence = OPENERS[rng.integers(len(OPENERS))]
    while True:
        grade = grades[np.abs(grades - rng.normal(wanted, 0.2)).argmin()]
        phrases = PHRASES[float(grade)]
        sentence += SUBJECTS[rng.integers(len(SUBJECTS))]
        sentence += phrases[rng.integers(len(phrases))]
        if len(sentence) >= characters:
            return sentence[: max(characters, 1)]
        sentence += JOINTS[rng.integers(len(JOINTS))]
