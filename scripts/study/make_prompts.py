#!/usr/bin/env python3
"""Writes the prompts of docs/rhythm.md's two studies: 240 different ones, always the same, for `tactus rhythm-study`.

    scripts/study/make_prompts.py prompts.jsonl

160 word problems in the manner of GSM8K, which the paper (arXiv 2510.13554) used and this repository does not carry;
40 puzzles of the Countdown kind; 40 requests to explain something. The system message is the paper's. Needs nothing but
Python's own library, and of `random` only what is promised to be the same in every version.
"""
import json
import random
import sys

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
NAMES = ["Amir", "Bea", "Carlos", "Dana", "Elif", "Femi", "Grace", "Hiro", "Ines", "Jonas", "Kavya", "Liam"]
THINGS = ["apples", "pencils", "stickers", "marbles", "books", "tickets", "candles", "shells"]

# {n} and {m} are names, {t} is a thing, {a} to {d} are whole numbers.
PROBLEMS = [
    "{n} has {a} {t}. {m} gives {n} {b} more, and then {n} loses {c} of them. How many {t} does {n} have now?",
    "{n} buys {b} boxes of {t}. Each box holds {a} {t}. {n} gives {c} {t} to {m}. How many {t} are left?",
    "A shop sells {t} at {b} dollars each. {n} buys {c} of them and {m} buys {d}. How much do they pay together?",
    "{n} reads {a} pages on Monday and twice as many on Tuesday. The book has {d}{a} pages. How many pages are left?",
    "{n} earns {b} dollars an hour and works {c} hours a day for {d} days. How much does {n} earn in all?",
    "{n} and {m} share {a} {t} in the ratio {c} to {d}, and the rest is kept in a jar. How many {t} can be in the jar?",
    "A train travels {a} kilometres an hour for {c} hours and then {b} kilometres an hour for {d} hours. How far does it go?",
    "{n} bakes {a} cookies and puts them in bags of {c}. How many full bags are there, and how many cookies remain?",
    "{n} is {b} years older than {m}. In {c} years their ages will add up to {a}. How old is {m} now?",
    "A garden is {a} metres long and {b} metres wide. {n} puts a fence around it with a gate of {c} metres. How long is the fence?",
    "{n} saves {b} dollars a week. A bicycle costs {a}{c} dollars. How many weeks does {n} have to save?",
    "There are {a} seats in a hall. {b} rows of {c} seats are taken. How many seats are free?",
    "{n} runs {c} kilometres every morning and {d} kilometres every evening. How far does {n} run in {b} days?",
    "{m} picks {a} {t} and {n} picks {b} fewer. They sell all of them at {c} dollars each. How much money do they get?",
    "A tank holds {a}0 litres. It loses {c} litres an hour and gains {d} litres an hour. How much is in it after {b} hours if it was full?",
    "{n} has {a} dollars and buys {c} {t} at {d} dollars each. {m} pays back {b} dollars. How much money has {n} now?",
    "A class of {a} children is split into teams of {c}. Every team gets {d} {t}. How many {t} are needed?",
    "{n} cuts a rope of {a} metres into pieces of {c} metres. {m} needs {d} pieces. How many metres are over after that?",
    "In a box there are {a} {t}. A third of them are red and {c} are blue. How many are neither red nor blue?",
    "{n} drives {b} kilometres to work and back {c} days a week. The car uses one litre for {d} kilometres. How many litres a week is that?",
]
SUBJECTS = [
    "why the sky is blue", "how a bicycle stays upright", "how bread dough rises", "why ice floats on water",
    "how a rainbow forms", "how vaccines protect us", "why we have seasons", "how a lock and key work",
    "how bees make honey", "why the moon has phases", "how a thermos keeps tea hot", "how sound travels",
    "why leaves change colour", "how a compass works", "how soap cleans", "why we dream",
    "how an aeroplane flies", "how computers store numbers", "why onions make us cry", "how rivers shape valleys",
]
MANNERS = ["Explain {} to a child of ten.", "Explain {} in a few clear steps, with one example."]


def prompts():
    draw = random.Random(20510)
    number = lambda low, high: low + int(draw.random() * (high - low + 1))
    pick = lambda choices: choices[int(draw.random() * len(choices))]
    for round_ in range(8):
        for problem in PROBLEMS:
            name = pick(NAMES)
            other = pick([one for one in NAMES if one != name])
            yield problem.format(n=name, m=other, t=pick(THINGS), a=number(40, 90), b=number(11, 30), c=number(2, 9),
                                 d=number(2, 9))
    for _ in range(40):
        numbers = [number(1, 20) for _ in range(4)]
        target = numbers[0] * numbers[1] + numbers[2] - numbers[3]
        yield (f"Use the numbers {', '.join(map(str, numbers))}, each once, with +, -, * and / to make {target}. "
               "Show how you find it.")
    for subject in SUBJECTS:
        for manner in MANNERS:
            yield manner.format(subject)


def main():
    texts = list(prompts())
    assert len(set(texts)) == len(texts) == 240
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for number, text in enumerate(texts):
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
            out.write(json.dumps({"id": number, "messages": messages}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/study/make_prompts.py FILE")
    main()
