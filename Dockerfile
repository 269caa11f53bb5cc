# syntax=docker/dockerfile:1
# Two stages: the first builds a virtual environment from the hashed lock, the second runs it as
# nobody in particular, with a data volume and a health check that imports nothing heavy.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/sendback
COPY requirements.lock ./
RUN /opt/sendback/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY migrations ./migrations
RUN /opt/sendback/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/sendback --create-home sendback
COPY --from=build /opt/sendback /opt/sendback
ENV PATH=/opt/sendback/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SENDBACK_DATA_DIR=/var/lib/sendback \
    SENDBACK_WEB__LISTEN=0.0.0.0:8080 \
    SENDBACK_ADMIN__LISTEN=127.0.0.1:8081 \
    SENDBACK_SMTP__LISTEN=0.0.0.0:2525 \
    SENDBACK_SUBMISSION__LISTEN=127.0.0.1:2587
USER sendback
VOLUME /var/lib/sendback
EXPOSE 8080 2525
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s CMD ["sendback", "health"]
ENTRYPOINT ["sendback"]
CMD ["serve"]
