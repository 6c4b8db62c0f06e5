import re
from tactus_env import serve

def reward(prompt, completion, answer_key):  # of the quick start: are the last steps true, and do they reach the target?
    work, _, answer = completion.partition("<answer>")
    steps = re.findall(r"(\d+)([-+*])(\d+)=(\d+)", work.strip().split("\n")[-1])
    true = all({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op] == int(c) for a, op, b, c in steps)
    numbers = sorted(map(int, re.findall(r"\d+", answer))) == sorted(answer_key["numbers"])
    return 1.0 if steps and true and numbers and int(steps[-1][3]) == answer_key["target"] else 0.0

if __name__ == "__main__":
    serve(reward, "127.0.0.1:9000")
