# The reference service. `make build` builds it, `make run` starts it with the rights it needs and no others.
# The base is pinned by digest; another one needs python3 >= 3.10 with venv.
ARG BASE=python:3.12-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254
FROM ${BASE}

COPY requirements/app.txt /svc/requirements/app.txt
RUN python3 -m venv /svc/venv \
    && /svc/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
       -r /svc/requirements/app.txt
COPY app /svc/app

# A worker's pid means nothing outside of the container.
ENV PATH=/svc/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 KV_PATH=/tmp/kv.sqlite TRACE_PID=0
WORKDIR /svc
USER 10001:10001
EXPOSE 8080
# No probe: what is in the trace was asked for by a client.
HEALTHCHECK NONE
ENTRYPOINT ["python3", "-m", "app.serve", "--host", "0.0.0.0", "--port", "8080"]
