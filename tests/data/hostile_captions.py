"""Two hundred texts that have broken programs: any script and length, control characters, markup, invalid text."""

__all__ = ["HOSTILE"]

HOSTILE = (
    # empty and invisible
    "", " ", "\t", "\n", "\r\n", "\u00a0", "\u2003\u2009", "\u3000", "\u2028", "\u2029", "\x1c\x1d\x1e\x1f", "\x85",
    "\u200b", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u115f", "\u3164", "\u2800",
    # right-to-left scripts, and characters that change the direction
    "\u05d0\u05d5\u05e4\u05e0\u05d9\u05d9\u05dd", "\u062f\u0631\u0627\u062c\u0629 \u062d\u0645\u0631\u0627\u0621",
    "\u202eabc", "\u202a\u202b\u202c\u202d", "\u2066\u2067\u2068\u2069", "\u061c\u200e\u200f", "abc \u05d0 123 \u0627",
    "\ufdfa", "\ufdfd", "\u0644\u0644\u0635\u0651\u0628\u064f\u0644\u0648\u0644\u0635\u0651\u0628\u064f\u0631\u0631",
    # combining characters and equivalent forms
    "e\u0301", "\u00e9", "\u0301", "Z\u0351\u036b\u0343\u036a\u0302" * 40, "\u0e01\u0e33", "\u0915\u094d\u0937",
    "\u1100\u1161\u11a8", "\uac01", "\u1e9b\u0323", "a\u0307\u0323", "\u0130\u0131", "\ufb03", "\u00df\u1e9e", "\u2126",
    # characters beyond 16 bits, and other rare ones
    "\U0001f6b2", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\U00020000\U0002a6d6", "\U0010ffff",
    "\U0001d54f\U0001d556", "\U000e0001", "\U00012000", "\uffff", "\ufffe", "\ufdd0", "\ue000", "\ufffd",
    # halves of surrogate pairs
    "\ud83d", "\ude00", "\ude00\ud83d", "a\udc80b", "\udcff" * 10, "\ud800" * 1000,
    # zero characters and other control characters
    "\0", "a\0b", "\0" * 100, "s\0e\0a\0", "\x01", "\x07\x08", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x7f", "\x9b2J",
    "a\rb", "a\nb", "a\r\nb", "\x0b\x0c", "a\x1ab", "\r", "trailing \r", "\u2028a\u2029", "\x00\x01\x02", "\ufeffabc",
    # tables, markup, templates, code
    '"', '""', '"a","b"', "a,b", "a;b", "a\tb", "'", "=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("x","y")', "\\", "\\n",
    "<b>a</b>", "<end>", "<|endoftext|>", "<s></s>", "[CLS]", "[MASK]", "<pad>", "&amp;", "<!--", "]]>", "<script>alert(1)</script>",
    "{}", "{0}", "{a.b}", "%s%n", "${HOME}", "$(ls)", "`ls`", "'; DROP TABLE t; --", "../../etc/passwd", "C:\\con", "NUL",
    "null", "None", "nan", "true", "undefined", "NaN", "inf", "-0", "0", "1e999", "0x10", "1984", "[]", "#", "//", "/*",
    # long texts
    "a" * 10_000, "a " * 10_000, " " * 10_000, "\u05d0" * 10_000, "\U0001f6b2" * 2_500, "\u0301" * 10_000, "ab" * 50_000,
    "word " * 2_000, "\n" * 10_000, "a\n" * 5_000, '"' * 10_000, "," * 10_000, "\\" * 10_000, "\u200b" * 10_000,
    # nearly identical texts
    "cat", " cat", "cat ", "Cat", "CAT", "c\u200bat", "\u0441at", "cat\u0301", "cat.", "c a t", "\uff43\uff41\uff54", "cat",
    # words of other scripts
    "\u7ea2\u8272\u7684\u81ea\u884c\u8f66", "\u8d64\u3044\u81ea\u8ee2\u8eca", "\ube68\uac04 \uc790\uc804\uac70",
    "\u043a\u0440\u0430\u0441\u043d\u044b\u0439 \u0432\u0435\u043b\u043e\u0441\u0438\u043f\u0435\u0434",
    "\u03ba\u03cc\u03ba\u03ba\u03b9\u03bd\u03bf", "\u0e08\u0e31\u0e01\u0e23\u0e22\u0e32\u0e19", "\u10e0\u10d0\u10db\u10d4",
    "\u0baa\u0bc7\u0bb0\u0bc1\u0ba8\u0bcd\u0ba4\u0bc1", "\u1200\u1208", "\u13a0\u13b6", "\u1681\u1682", "\u16a0\u16a2",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u200f!", "na\u00efve caf\u00e9", "\u00c3\u00a9", "Stra\u00dfe", "\u0110\u00e0 N\u1eb5ng",
    *(f"a{chr(code)}b" for code in range(1, 20)),
)  # fmt: skip
