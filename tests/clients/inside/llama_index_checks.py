"""LlamaIndex's model for compatible servers."""

from __future__ import annotations

from checking import EMBEDDER, KEY, MODEL, URL, check, main
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

HOW = {"is_chat_model": True, "is_function_calling_model": True, "max_tokens": 200, "max_retries": 0}
llm = OpenAILike(model=MODEL, api_base=f"{URL}/v1", api_key=KEY, **HOW)


class City(BaseModel):
    name: str
    inhabitants: int


@check
def chat():
    assert llm.chat([ChatMessage(role="user", content="hi")]).message.content


@check
def stream():
    assert list(llm.stream_chat([ChatMessage(role="user", content="hi")]))


@check
def structured():
    assert isinstance(llm.as_structured_llm(City).complete("Rome").raw, City)


@check
def vectors():
    embedder = OpenAILikeEmbedding(model_name=EMBEDDER, api_base=f"{URL}/v1", api_key=KEY, max_retries=0)
    texts = embedder.get_text_embedding_batch(["The river.", "moon"])
    assert len(texts) == 2
    assert embedder.get_query_embedding("moon")


@check
def ollama_vectors():
    embedder = OllamaEmbedding(model_name=EMBEDDER, base_url=URL)
    assert len(embedder.get_text_embedding_batch(["The river.", "moon"])) == 2


main()
