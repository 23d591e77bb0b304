# Voxdex as an image: docker compose builds and runs it. EXTRA=gpu takes ONNX Runtime for CUDA, with its libraries.
FROM python:3.12-slim

ARG EXTRA=cpu
WORKDIR /voxdex
COPY . .
RUN pip install --no-cache-dir ".[${EXTRA},server,map,phonetic,speakers]" \
    && if [ "${EXTRA}" = gpu ]; then pip install --no-cache-dir "onnxruntime-gpu[cuda,cudnn]"; fi \
    && useradd --create-home --uid 1000 voxdex && install -d -o voxdex /data
USER voxdex
WORKDIR /data
ENV VOXDEX_HOME=/data
ENTRYPOINT ["voxdex"]
CMD ["--help"]
