"""A conversation for scripts/check/environments.py: the model tries, reads a puzzle's number, and tries again.

    python scripts/check/conversing_environment.py PORT
"""

import sys

from tactus_env import Conversation, Done, Say, serve


class SecondTry(Conversation):
    name = "second try"

    def reset(self, opening):
        self.number = opening.answer_key["numbers"][0]

    def step(self, turn):
        if turn.number == 1:
            return Say(raw=f"\n{self.number}", reward=0.25)
        odd = len(turn.token_ids) % 2 == 1
        return Done(0.5 if odd else 0.0, correct=odd, reason="tried_twice", metrics={"tokens": len(turn.token_ids)})


if __name__ == "__main__":
    serve(SecondTry, f"127.0.0.1:{sys.argv[1]}")
