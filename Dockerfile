# trimtab in a container, from the root of the repository:
#   docker build --target cpu -t trimtab .      any machine
#   docker build --target cuda -t trimtab .     machines with an NVIDIA GPU and its container toolkit
#   docker run --rm -v "$PWD:/home/trimtab/work" trimtab demo
# vLLM's own image with trimtab in it is deploy/Dockerfile. Not built where trimtab is developed: there is no Docker there;
# a test runs the lines that install and try it in an environment of its own.
FROM python:3.12-slim AS sources
WORKDIR /opt/trimtab
COPY . .
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN useradd --create-home trimtab && mkdir /home/trimtab/work && chown trimtab /home/trimtab/work

# torch's CPU build, a fifth of the other's size, is in PyTorch's own index.
FROM sources AS cpu
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN pip install -c constraints.txt ".[all]"
RUN trimtab doctor
USER trimtab
WORKDIR /home/trimtab/work
EXPOSE 8000
ENTRYPOINT ["trimtab"]
CMD ["demo"]

# PyPI's torch for Linux brings CUDA with it; the driver comes from the machine.
FROM sources AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install -c constraints.txt ".[all]"
RUN trimtab doctor
USER trimtab
WORKDIR /home/trimtab/work
EXPOSE 8000
ENTRYPOINT ["trimtab"]
CMD ["demo"]
