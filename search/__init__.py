"""Questions about voices -> answers.

from voxdex.encoders import open_model
from voxdex.indexer import EdgeStore, index_folder
from voxdex.search import Query, ask, find

with EdgeStore.open(index_folder("default")) as store:
    for hit in find(Query(ask("a whispering old man")), store, open_model(store.model)):
        print(hit.score, hit.recording, hit.start, hit.end)
"""

from voxdex.encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "voxdex.indexer.store": "parse_filter",
        "voxdex.search.aim": "caption_vector sound_vector",
        "voxdex.search.approximation": "Approximation evaluate_index",
        "voxdex.search.asking": "Asked",
        "voxdex.search.background": "Background",
        "voxdex.search.captioning": "CaptionBank Fitting caption_file compose",
        "voxdex.search.classification": "Classified Question classify_file classify_index question questions",
        "voxdex.search.cutting": "cut",
        "voxdex.search.evaluation": "Answered evaluate_classification evaluate_retrieval",
        "voxdex.search.finding": "count_values find",
        "voxdex.search.intelligibility": "Clarity Judged Utterance judge read_utterances",
        "voxdex.search.phonetic_evaluation": "evaluate_phonetics",
        "voxdex.search.query": "Clip Facet FoundClip Hit Query QueryError Ranking Said Shift Sound Wish ask",
        "voxdex.search.reranking": "Prompt Ranked Reward keep_best rank read_prompts",
        "voxdex.search.saying": "find_said",
    },
)
