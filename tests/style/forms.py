"""Words and forms that this project writes otherwise, each with what is written instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.style.texts import Kind, Text

_EVERYWHERE: tuple[Kind, ...] = ("docstring", "comment", "message", "page")
_UNITS = (
    "anchor|axis|backend|batch|board|box|bundle|byte|call|case|cell|channel|chip|class|command|context|core|device|dot|"
    "element|entry|epoch|event|feature|field|figure|file|folder|form|frame|graph|group|head|image|input|item|job|key|"
    "keypoint|kind|label|layer|level|line|location|machine|message|model|module|name|node|number|object|operator|option|"
    "output|page|part|pixel|platform|point|prediction|process|processor|question|reason|release|role|row|run|sample|"
    "scale|section|side|source|stage|step|stride|table|tensor|thread|trial|type|use|value|version|viewer|weight|word|"
    "worker"
)
_COUNTED = (
    "bytes|bits|boxes|classes|channels|cores|files|floats|frames|images|integers|keypoints|lines|numbers|objects|pixels|"
    "points|processes|queue|rows|scores|tensors|threads|values|weights|context|tensor|thread|process"
)
_NOT_BETWEEN = (
    "of|is|in|to|as|for|by|on|at|has|with|that|than|from|and|or|are|into|before|after|if|when|not|through|was|were|"
    "behind|under|over|gives|makes|takes|without|half|whose|leaves|needs"
)
"""Between a number and "a thing", these make it an object, not a rate."""
_BRITISH = (
    "colour\\w*|cent(?:re|res|ring)|neighbou(?:r|rs|ring)|behaviours?|"
    "favou(?:r|rs|red|rite)|honou(?:r|rs|red)|(?:recogn|normal|initial|optim|quant|serial|summar|organ|visual|general|"
    "minim|maxim|real|special|custom|priorit|synchron|util)is(?:e|es|ed|ing|ation)|analys(?:e|ed|ing)|catalogues?|"
    "licence|grey(?:scale)?|met(?:re|res)|modell(?:ed|ing)|(?:un)?labell(?:ed|ing)|cancell(?:ed|ing)|signall(?:ed|ing)|"
    "artefacts?|judgements?|whilst|amongst|learnt|spelt|towards|afterwards|upwards|downwards|forwards|backwards"
)
_BESIDE_FLOAT = "than|against|of|to|from|with|as|by|and|like|before|behind|in"
_AFTER_FLOAT = "is|has|finds|by|on|in|and|to|at|does|gives"


@dataclass(frozen=True)
class Form:
    """A word or form to count.

    Attributes:
        name: in the table of counts.
        pattern: what finds it in one text.
        instead: what is written instead.
        kinds: the texts that it is looked for in.
    """

    name: str
    pattern: re.Pattern[str]
    instead: str
    kinds: tuple[Kind, ...] = _EVERYWHERE

    def uses(self, text: Text) -> Iterator[str]:
        """Every use in a text, as it is written there."""
        if text.kind in self.kinds:
            yield from (match[0].strip() for match in self.pattern.finditer(text.text))


def _words(name: str, pattern: str, instead: str) -> Form:
    return Form(name, re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead)


def _docstrings(name: str, pattern: str, instead: str) -> Form:
    return Form(name, re.compile(pattern, re.MULTILINE), instead, ("docstring",))


FORMS = (
    _docstrings("begins with What, How, Whether", r"\A(?:What|How|Whether)\b", "a noun or an imperative"),
    _docstrings("begins with Who, Where, Why, Which", r"\A(?:Who|Where|Why|Which)\b", "a noun"),
    _docstrings("Args: on the first line", r"\A[^\n]*\b(?:Args|Returns|Raises|Attributes):", "one section a line"),
    _docstrings(
        "line that only refers: its result, likewise",
        r"^\s+\w+: (?:its|it|their|them|likewise|the same|see there|the same of \w+|row by row)(?: \w+)?\.?$",
        "what it is",
    ),
    _words("a, where per is meant", rf"(?:one|two|three|four|five|six|eight|\d+|[NK]|twice|once) "
           rf"(?:(?!(?:{_NOT_BETWEEN})\b)[\w-]+ ){{0,3}}an? (?:{_UNITS})", "per"),
    _words("nouns a, where per is meant", rf"(?<!--)(?:{_COUNTED}) an? (?:{_UNITS})", "per"),
    _words("is no, are no", r"(?<!there )(?<!here )(?:is|are|was|were|be) no "
           r"(?!longer\b|more than\b|less than\b|other\b)\w+", "is not a"),
    _words("likewise", "likewise", "what it is"),
    _words("see there", "see there", "the place"),
    _words("the same of", "the same of", "what it is"),
    _words("told", "told|tells? (?:whoever|anybody|nobody|everybody)", "reported, says"),
    _words("beside", "besides?(?! the point)", "next to, also"),
    _words("cure", "cures?|cured", "fix"),
    _words("held-back", "held[- ]back", "held-out"),
    _words("draw, as a noun", r"(?:a|one|other|each|every|of|per|same|by|all|two|three|several|the|\d+) draws?"
           r"(?! a\b| the\b| it\b)", "calibration sample"),
    _words("dial", "dials?", "hyperparameter"),
    _words("way out", "ways? out", "hint"),
    _words("goes on with", "(?:goes|go|went|gone|going) on with", "resumes, continues"),
    _words("float, as a noun for the model", rf"(?:{_BESIDE_FLOAT}) float(?=[,.;:)]| (?:{_AFTER_FLOAT})\b|'s|$)",
           "the float model"),
    _words("the built one", "(?:the|a) built (?:one|side)", "the quantized model"),
    _words("lets go of", "lets? go of", "releases"),
    _words("looks away", "looks? away", "what it does"),
    _words("nobody, everybody", "nobody|everybody|anybody|somebody|whoever|no one", "what happens"),
    _words("British spelling", _BRITISH, "American"),
    Form("'x' in a message", re.compile(r"(?<![\w'])'(?:\{\}|[\w./-]+)'(?![\w'])"), '"x"', ("message",)),
)  # fmt: skip
