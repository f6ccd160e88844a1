# heed's server with heed's own models: docker build -t heed . && docker run -p 8000:8000 heed
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /heed && /heed/bin/pip install --no-cache-dir -c constraints.txt '.[serve,tokenizers]'

FROM python:3.12-slim
COPY --from=build /heed /heed
RUN useradd --system --no-create-home --shell /usr/sbin/nologin heed
USER heed
ENV PATH=/heed/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HEED_MODELS=/models
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["heed", "serve", "--host", "0.0.0.0", "--port", "8000"]
