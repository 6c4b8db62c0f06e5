import unittest

from tactus_env import Completion
from tactus_env.math_reward import MathEnvironment, check, reference_of


class References(unittest.TestCase):
    def test_of_the_usual_data_sets(self):
        self.assertEqual(reference_of({"answer": "24+48 = <<24+48=72>>72.\n#### 1,072"}), "1,072")
        self.assertEqual(reference_of({"answer": 72, "source": "mine"}), "72")
        self.assertEqual(reference_of("\\frac{1}{2}"), "\\frac{1}{2}")
        for key in ({}, {"answer": ""}, {"answer": True}, None, [1]):
            with self.subTest(key), self.assertRaises(ValueError):
                reference_of(key)


class Verdicts(unittest.TestCase):
    def test_are_those_of_math_verify(self):
        cases = [("72", "so \\boxed{72}", "correct"), ("\\frac{1}{2}", "The answer is $0.5$.", "correct"),
                 ("\\boxed{x^2-1}", "$(x-1)(x+1)$", "correct"), ("72", "It is 73.", "wrong_answer"), ("72", "I pass", "no_answer")]
        for reference, text, verdict in cases:
            with self.subTest(text):
                self.assertEqual(check(reference, text), verdict)

    def test_a_reference_that_is_none_is_an_error_and_no_verdict(self):
        with self.assertRaises(ValueError):
            check("", "72")

    def test_an_answer_that_takes_too_long_holds_up_no_other(self):
        environment = MathEnvironment(processes=2, timeout_s=8)
        try:
            endless = "$2^{2^{2^{2^{2^{2}}}}}$"  # worked out for ever
            scores = environment.score("", [Completion(endless), Completion("\\boxed{72}"), Completion("no")], {"answer": "#### 72"})
            self.assertEqual([s.reason for s in scores], ["timed_out", "correct", "no_answer"])
            self.assertEqual([s.correct for s in scores], [False, True, False])
        finally:
            environment.close()


if __name__ == "__main__":
    unittest.main()
