"""A web service: POST an image file, get what was found as JSON.

    pip install fastapi uvicorn
    BUNDLE=build/best-rk3588-int8 uvicorn service:app --port 8000
    curl --data-binary @photo.jpg http://127.0.0.1:8000/detect

Requests run side by side, one per NPU core; the event loop stays free meanwhile.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request

import rkdeploy

LARGEST = 20_000_000  # bytes of an image file


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncIterator[None]:
    """Load the model once, close it at the end."""
    with rkdeploy.load(os.environ["BUNDLE"]) as model:
        service.state.model = model
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/detect")
async def detect(request: Request) -> dict[str, Any]:
    """Detect in the image that is the body of the request."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise HTTPException(413, f"The image has more than {LARGEST} bytes.")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) if body else None
    if image is None:
        raise HTTPException(422, "The body is not an image that OpenCV reads.")
    result = await request.app.state.model.infer(image)
    found: dict[str, Any] = result.to_dict()
    return found
