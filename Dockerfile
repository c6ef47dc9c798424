# One image for every process; the command chooses which: `docker run bankmirror ingest`.
FROM python:3.11-slim

# The certificates that the bank's is checked against. The account owns nothing: processes keep no state of their own.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home bankmirror

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

COPY bankmirror bankmirror
COPY kernel kernel
COPY banks banks
COPY sandbox sandbox
COPY ingest ingest
COPY readapi readapi
COPY transfers transfers
COPY schema schema

ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER bankmirror
ENTRYPOINT ["python", "-m", "bankmirror"]
CMD ["--help"]
