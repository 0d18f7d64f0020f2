"""Hunyuan AV: sound for silent video (Foley) and talking portraits (Avatar), as ComfyUI nodes.

ComfyUI imports this file and asks `comfy_entrypoint` for the nodes; all else is imported when it is used.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's nodes as one ComfyUI extension."""
    from .nodes import extension

    return extension()
