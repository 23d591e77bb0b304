"""Questions about voices -> answers.

from encoders import open_model
from indexer import EdgeStore, index_folder
from search import Query, find

with EdgeStore.open(index_folder("default")) as store:
    for hit in find(Query("a whispering old man"), store, open_model(store.model)):
        print(hit.score, hit.recording, hit.start, hit.end)
"""

from search.classification import Classified, Question, classify_file, question
from search.evaluation import evaluate_classification, evaluate_retrieval
from search.query import Hit, Query, QueryError, caption_vector, find

__all__ = [
    "Classified",
    "Hit",
    "Query",
    "QueryError",
    "Question",
    "caption_vector",
    "classify_file",
    "evaluate_classification",
    "evaluate_retrieval",
    "find",
    "question",
]
