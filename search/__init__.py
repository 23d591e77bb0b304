"""Questions about voices -> answers.

from encoders import open_model
from indexer import EdgeStore, index_folder
from search import Query, ask, find

with EdgeStore.open(index_folder("default")) as store:
    for hit in find(Query(ask("a whispering old man")), store, open_model(store.model)):
        print(hit.score, hit.recording, hit.start, hit.end)
"""

from encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "indexer.store": "parse_filter",
        "search.aim": "caption_vector sound_vector",
        "search.approximation": "Approximation evaluate_index",
        "search.asking": "Asked",
        "search.background": "Background",
        "search.captioning": "CaptionBank Fitting caption_file compose",
        "search.classification": "Classified Question classify_file classify_index question questions",
        "search.cutting": "cut",
        "search.evaluation": "Answered evaluate_classification evaluate_retrieval",
        "search.finding": "count_values find",
        "search.intelligibility": "Clarity Judged Utterance judge read_utterances",
        "search.phonetic_evaluation": "evaluate_phonetics",
        "search.query": "Clip Facet FoundClip Hit Query QueryError Ranking Said Shift Sound Wish ask",
        "search.reranking": "Prompt Ranked Reward keep_best rank read_prompts",
        "search.saying": "find_said",
    },
)
