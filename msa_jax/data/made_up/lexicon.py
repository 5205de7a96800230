"""Graded words and phrases from which made-up sentences are composed.

Written for this project; the grades are ours, from -3 (very negative) to 3.
"""

# adjectives by grade, in steps of half a point
ADJECTIVES = {
    -3.0: ("horrible", "atrocious", "unbearable", "disgusting"),
    -2.5: ("terrible", "awful", "dreadful", "miserable"),
    -2.0: ("bad", "lousy", "painful", "stupid"),
    -1.5: ("boring", "annoying", "weak", "lazy"),
    -1.0: ("disappointing", "dull", "clumsy", "flat"),
    -0.5: ("forgettable", "uneven", "slow", "long"),
    0.0: ("ordinary", "average", "typical", "usual"),
    0.5: ("okay", "decent", "watchable", "acceptable"),
    1.0: ("fine", "pleasant", "solid", "nice"),
    1.5: ("good", "funny", "charming", "enjoyable"),
    2.0: ("great", "lovely", "impressive", "touching"),
    2.5: ("wonderful", "excellent", "terrific", "delightful"),
    3.0: ("amazing", "brilliant", "perfect", "fantastic"),
}

# past tense and base form, for "i hated it" and "i did not hate it"
VERBS = {
    -3.0: (("hated", "hate"), ("despised", "despise")),
    -2.5: (("loathed", "loathe"), ("resented", "resent")),
    -2.0: (("disliked", "dislike"), ("regretted", "regret")),
    -1.5: (("dreaded", "dread"), ("distrusted", "distrust")),
    -1.0: (("doubted", "doubt"), ("questioned", "question")),
    -0.5: (("tolerated", "tolerate"), ("endured", "endure")),
    0.0: (("noticed", "notice"), ("remembered", "remember")),
    0.5: (("accepted", "accept"), ("understood", "understand")),
    1.0: (("respected", "respect"), ("welcomed", "welcome")),
    1.5: (("liked", "like"), ("appreciated", "appreciate")),
    2.0: (("enjoyed", "enjoy"), ("praised", "praise")),
    2.5: (("admired", "admire"), ("treasured", "treasure")),
    3.0: (("loved", "love"), ("adored", "adore")),
}

# what a word before an adjective or a verb does to its grade
ADJECTIVE_FACTORS = (
    ("", 1.0),
    ("slightly", 0.5),
    ("somewhat", 0.7),
    ("rather", 0.9),
    ("really", 1.2),
    ("very", 1.25),
    ("incredibly", 1.5),
)
VERB_FACTORS = (
    ("", 1.0),
    ("kind of", 0.6),
    ("really", 1.2),
    ("truly", 1.3),
    ("absolutely", 1.5),
)
NEGATION = -0.5  # "not brilliant" is mildly bad, "not bad" is mildly good

SUBJECTS = (
    "acting",
    "story",
    "music",
    "ending",
    "dialogue",
    "plot",
    "camera work",
    "main character",
    "first half",
    "second half",
    "villain",
    "script",
    "humor",
    "pacing",
    "cast",
    "opening scene",
)

# {what} is a subject; {how} an adjective with its factor or negation
ADJECTIVE_CLAUSES = (
    "the {what} was {how}",
    "i thought the {what} was {how}",
    "for me the {what} felt {how}",
    "the {what} seemed {how} to me",
    "everybody in the room found the {what} {how}",
    "the {what} turned out to be {how}",
)
VERB_CLAUSES = (
    "i {how} the {what}",
    "my friends and i {how} the {what}",
    "i have to say i {how} the {what}",
    "from the first minute i {how} the {what}",
)

OPENERS = (
    "",
    "",
    "well",
    "so",
    "you know",
    "i mean",
    "to be honest",
    "from what i saw",
    "as for this movie",
)
CLOSERS = (
    "",
    "",
    "and that is it",
    "if you ask me",
    "so there you have it",
    "that is my opinion",
    "all things considered",
)
NEUTRAL = (
    "",
    "",
    "i watched it with my brother",
    "we saw it on a sunday afternoon",
    "it runs for about two hours",
    "it is set in a small town",
    "the book came out years ago",
    "they filmed it in canada",
    "it is the third one in the series",
)
JOINED_EQUALLY = ("and", "and also", "plus")
JOINED_TO_SECOND = ("but", "yet", "however")  # the second clause weighs double

# twins of Chinese data sets
CHINESE_SUBJECTS = (
    "这个故事",
    "他的表演",
    "这件事情",
    "今天的安排",
    "她的态度",
    "这个地方",
)
CHINESE_OPENERS = ("", "", "我觉得", "说实话", "其实")
CHINESE_JOINTS = ("，而且", "，所以", "，你看")
# what is said of a subject, from -1 (very negative) to 1
CHINESE_PHRASES = {
    -1.0: ("太糟糕了", "让人绝望", "真可怕"),
    -0.6: ("很无聊", "令人失望", "很讨厌"),
    -0.2: ("不太好", "有点慢", "不够清楚"),
    0.0: ("很普通", "和以前一样", "就是这样"),
    0.2: ("还可以", "还不错", "挺安静"),
    0.6: ("很好", "很有趣", "让人高兴"),
    1.0: ("太棒了", "非常精彩", "让人感动"),
}
