"""Hunyuan AV: sound for silent video (Foley) and talking portraits (Avatar), as ComfyUI nodes.

ComfyUI imports this file and asks `comfy_entrypoint` for the nodes; everything else is imported when it is used.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():  # noqa: ANN201 - the type exists only inside ComfyUI
    """The pack's nodes as one ComfyUI extension."""
    from .nodes import extension

    return extension()
