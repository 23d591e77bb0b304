"""Questions about voices -> answers.

from encoders import open_model
from indexer import EdgeStore, index_folder
from search import Query, ask, find

with EdgeStore.open(index_folder("default")) as store:
    for hit in find(Query(ask("a whispering old man")), store, open_model(store.model)):
        print(hit.score, hit.recording, hit.start, hit.end)
"""

from indexer.store import parse_filter
from search.aim import caption_vector, sound_vector
from search.approximation import Approximation, evaluate_index
from search.asking import Asked
from search.background import Background
from search.captioning import CaptionBank, Fitting, caption_file, compose
from search.classification import Classified, Question, classify_file, classify_index, question, questions
from search.cutting import cut
from search.evaluation import Answered, evaluate_classification, evaluate_retrieval
from search.finding import count_values, find
from search.intelligibility import Clarity, Judged, Utterance, judge, read_utterances
from search.phonetic_evaluation import evaluate_phonetics
from search.query import Clip, Facet, FoundClip, Hit, Query, QueryError, Ranking, Said, Shift, Sound, Wish, ask
from search.reranking import Prompt, Ranked, Reward, keep_best, rank, read_prompts
from search.saying import find_said

__all__ = [
    "Answered",
    "Approximation",
    "Asked",
    "Background",
    "CaptionBank",
    "Clarity",
    "Classified",
    "Clip",
    "Facet",
    "Fitting",
    "FoundClip",
    "Hit",
    "Judged",
    "Prompt",
    "Query",
    "QueryError",
    "Question",
    "Ranked",
    "Ranking",
    "Reward",
    "Said",
    "Shift",
    "Sound",
    "Utterance",
    "Wish",
    "ask",
    "caption_file",
    "caption_vector",
    "classify_file",
    "classify_index",
    "compose",
    "count_values",
    "cut",
    "evaluate_classification",
    "evaluate_index",
    "evaluate_phonetics",
    "evaluate_retrieval",
    "find",
    "find_said",
    "judge",
    "keep_best",
    "parse_filter",
    "question",
    "questions",
    "rank",
    "read_prompts",
    "read_utterances",
    "sound_vector",
]
