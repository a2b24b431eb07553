# Fetches, forecasts, keeps the ledger, alerts and serves the page; training networks needs TensorFlow, which is
# left out. What it keeps is in the volume /data.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY forecaster forecaster
# The tests of other packages are a sixth of the whole.
RUN python -m venv --without-pip /opt/forecaster \
 && pip --python /opt/forecaster/bin/python install --no-cache-dir --constraint constraints.txt ".[alerts,serve]" \
 && find /opt/forecaster -type d -name tests -prune -exec rm -rf {} +

FROM python:3.13-slim
RUN useradd --uid 1000 --no-create-home --home-dir /data forecaster \
 && install --directory --owner=forecaster --group=forecaster /data
COPY --from=build /opt/forecaster /opt/forecaster
ENV PATH=/opt/forecaster/bin:$PATH \
    FORECAST_HOME=/data/home \
    XDG_CACHE_HOME=/data/cache
USER forecaster
WORKDIR /data
VOLUME /data
ENTRYPOINT ["forecast"]
CMD ["--help"]
